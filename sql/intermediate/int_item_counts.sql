-- one row per item in the history: how often and how well it was rated
with history as (
    select * from int_history
),

counted as (
    select
        item_id,
        count(*) as n_ratings,
        count(*) filter (is_liked) as n_liked,
        count(*) filter (is_disliked) as n_disliked
    from history
    group by item_id
)

select * from counted
