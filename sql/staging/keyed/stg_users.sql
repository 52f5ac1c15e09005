-- one row per user of own data
with users as (
    select * from typed_users
),

numbered as (
    select
        id as user_id,
        external_key as user_key
    from numbered_keys
    where kind = 'user'
),

described as (
    select
        numbered.user_id,
        users.age,
        users.gender,
        users.occupation,
        numbered.user_key
    from numbered
    left join users using (user_key)
    order by numbered.user_id
)

select * from described
