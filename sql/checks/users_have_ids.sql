-- every user has a positive id
with users as (
    select
        rowid as row_id,
        *
    from stg_users
),

offenders as (
    select
        row_id,
        user_id,
        age,
        gender,
        occupation,
        count(*) over () as n_users
    from users
    where coalesce(user_id, 0) < 1
    order by row_id
    limit 1
)

select * from offenders
