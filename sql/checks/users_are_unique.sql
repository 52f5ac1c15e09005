-- no user_id stands for two users
with users as (
    select * from stg_users
),

repeated as (
    select
        user_id,
        count(*) as n_users
    from users
    group by user_id
    having count(*) > 1
),

offenders as (
    select
        user_id,
        n_users,
        count(*) over () as n_repeated_ids
    from repeated
    order by user_id
    limit 1
)

select * from offenders
