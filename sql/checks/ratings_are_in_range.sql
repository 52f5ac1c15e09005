-- every rating is from 0.5 to 5
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
    where rating is null or rating not between 0.5 and 5
    order by row_id
    limit 1
)

select * from offenders
