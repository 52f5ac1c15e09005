-- every rating names a user and an item by a positive id
with ratings as (
    select
        rowid as row_id,
        *
    from stg_ratings
),

offenders as (
    select
        row_id,
        user_id,
        item_id,
        rating,
        rated_at,
        count(*) over () as n_ratings
    from ratings
    where coalesce(user_id, 0) < 1 or coalesce(item_id, 0) < 1
    order by row_id
    limit 1
)

select * from offenders
