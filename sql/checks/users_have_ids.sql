-- every user has a positive id
with users as (
    select * from stg_users
),

offenders as (
    select
        user_id,
        age,
        gender,
        occupation,
        count(*) over () as n_users
    from users
    where coalesce(user_id, 0) < 1
    order by user_id, age, gender, occupation
    limit 1
)

select * from offenders
