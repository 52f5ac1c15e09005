-- one row per user of $user_ids and eligible item that is not in the user's history.
-- The label is the rating in the user's future, or 0; only $negative_share of the zeros
-- are kept.
with users as (
    select unnest($user_ids::integer[]) as user_id
),

items as (
    select * from eligible_items
),

history as (
    select int_history.*
    from int_history
    semi join users using (user_id)
),

future as (
    select int_future.*
    from int_future
    semi join users using (user_id)
),

unseen as (
    select
        users.user_id,
        items.item_id
    from users
    cross join items
    anti join history
        on users.user_id = history.user_id and items.item_id = history.item_id
),

labelled as (
    select
        unseen.user_id,
        unseen.item_id,
        coalesce(future.rating, 0) as label
    from unseen
    left join future using (user_id, item_id)
),

kept as (
    select *
    from labelled
    where label > 0 or hash(user_id, item_id) % 1000000 < $negative_share * 1000000
)

select * from kept
