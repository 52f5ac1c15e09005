-- no user rates an item twice
with ratings as (
    select * from stg_ratings
),

repeated as (
    select
        user_id,
        item_id,
        count(*) as n_ratings
    from ratings
    group by user_id, item_id
    having count(*) > 1
),

offenders as (
    select
        user_id,
        item_id,
        n_ratings,
        count(*) over () as n_repeated_pairs
    from repeated
    order by user_id, item_id
    limit 1
)

select * from offenders
