-- there is at least one rating
with ratings as (
    select * from stg_ratings
),

counted as (
    select count(*) as n_ratings
    from ratings
),

offenders as (
    select n_ratings
    from counted
    where n_ratings = 0
)

select * from offenders
