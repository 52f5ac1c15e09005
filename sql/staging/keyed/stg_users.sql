-- one row per user of own data, numbered from 1 in the order of the external ids
with ratings as (
    select * from typed_ratings
),

users as (
    select * from typed_users
),

keys as (
    select user_key from ratings
    union
    select user_key from users
),

-- integers only if all are, each in its shortest form and below 2 ** 53
parsed as (
    select
        user_key,
        if(
            regexp_full_match(user_key, '0|[1-9][0-9]{0,15}')
            and try_cast(user_key as bigint) < 9007199254740992,
            user_key::bigint,
            null
        ) as number
    from keys
),

kinds as (
    select count(*) = count(number) as is_integer
    from parsed
),

sorted as (
    select
        parsed.user_key,
        if(kinds.is_integer, parsed.number, null) as number
    from parsed
    cross join kinds
),

numbered as (
    select
        user_key,
        row_number() over (order by number, user_key)::integer as user_id
    from sorted
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
