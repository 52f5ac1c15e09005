-- one row per rating before the cutoff, in the order of each user's ratings
with history as (
    select * from int_history
),

ordered as (
    select
        user_id,
        item_id,
        rated_at,
        is_liked
    from history
    order by user_id, position
)

select * from ordered
