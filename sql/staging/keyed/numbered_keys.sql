-- one row per user and per item of own data, numbered from 1 in the order of the
-- external ids
with ratings as (
    select * from typed_ratings
),

users as (
    select * from typed_users
),

items as (
    select * from typed_items
),

keys as (
    select
        'user' as kind,
        user_key as external_key
    from ratings
    union
    select
        'user' as kind,
        user_key as external_key
    from users
    union
    select
        'item' as kind,
        item_key as external_key
    from ratings
    union
    select
        'item' as kind,
        item_key as external_key
    from items
),

-- integers only if all of a kind are, each in its shortest form and below 2 ** 53
parsed as (
    select
        kind,
        external_key,
        if(
            regexp_full_match(external_key, '0|[1-9][0-9]{0,15}')
            and try_cast(external_key as bigint) < 9007199254740992,
            external_key::bigint,
            null
        ) as number
    from keys
),

kinds as (
    select
        kind,
        count(*) = count(number) as is_integer
    from parsed
    group by kind
),

sorted as (
    select
        kind,
        parsed.external_key,
        if(kinds.is_integer, parsed.number, null) as number
    from parsed
    inner join kinds using (kind)
),

numbered as (
    select
        kind,
        external_key,
        row_number() over (
            partition by kind
            order by number, external_key
        )::integer as id
    from sorted
)

select * from numbered
