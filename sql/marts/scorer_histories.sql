-- one row per rating in the history of a user of $user_ids, weights in ten-thousandths
with users as (
    select unnest($user_ids::integer[]) as user_id
),

history as (
    select int_history.*
    from int_history
    semi join users using (user_id)
),

counted as (
    select
        user_id,
        item_id,
        n_back < 30 as is_recent,
        is_liked,
        (10000 * slow_weight)::integer as slow_weight,
        (10000 * weight)::integer as weight,
        (10000 * fast_weight)::integer as fast_weight
    from history
    order by user_id, n_back
)

select * from counted
