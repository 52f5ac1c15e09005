-- one row per user_id of the ratings, for releases without a users file
with ratings as (
    select * from stg_ratings
),

described as (
    select
        user_id,
        cast(null as integer) as age,
        cast(null as varchar) as gender,
        cast(null as varchar) as occupation,
        cast(user_id as varchar) as user_key
    from ratings
    where user_id is not null
    group by user_id
)

select * from described
