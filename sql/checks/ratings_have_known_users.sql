-- every user with a rating is in the users file
with ratings as (
    select
        rowid as row_id,
        *
    from stg_ratings
),

users as (
    select * from stg_users
),

rated as (
    select
        user_id,
        count(*) as n_ratings,
        min(row_id) as row_id
    from ratings
    group by user_id
),

offenders as (
    select
        rated.row_id,
        rated.user_id,
        rated.n_ratings,
        count(*) over () as n_unknown_users
    from rated
    anti join users on rated.user_id = users.user_id
    order by rated.row_id
    limit 1
)

select * from offenders
