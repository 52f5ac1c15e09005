-- every rating has its time in seconds since 1970
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
    where rated_at is null or rated_at not between 1 and 99999999999
    order by row_id
    limit 1
)

select * from offenders
