-- no user_id stands for two users
with users as (
    select
        rowid as row_id,
        *
    from stg_users
),

repeated as (
    select
        user_id,
        count(*) as n_users,
        max(row_id) as row_id
    from users
    group by user_id
    having count(*) > 1
),

offenders as (
    select
        row_id,
        user_id,
        n_users,
        count(*) over () as n_repeated_ids
    from repeated
    order by row_id
    limit 1
)

select * from offenders
