-- one row per rating of a modelled item in the history of a user of $user_ids: its
-- weight, in ten-thousandths, in each state that the linear models are applied to
with users as (
    select unnest($user_ids::integer[]) as user_id
),

history as (
    select int_history.*
    from int_history
    semi join users using (user_id)
    semi join int_modelled_items using (item_id)
),

states as (
    select
        user_id,
        item_id,
        10000 as whole,
        (10000 * slow_weight)::integer as slow,
        (10000 * weight)::integer as recent,
        (10000 * soon_weight)::integer as soon,
        if(is_liked, 10000 * slow_weight, 0)::integer as liked
    from history
    order by user_id, item_id
)

select * from states
