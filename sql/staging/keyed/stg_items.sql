-- one row per item of own data, numbered from 1 in the order of the external ids
with ratings as (
    select * from typed_ratings
),

items as (
    select * from typed_items
),

keys as (
    select item_key from ratings
    union
    select item_key from items
),

-- integers only if all are, each in its shortest form and below 2 ** 53
parsed as (
    select
        item_key,
        if(
            regexp_full_match(item_key, '0|[1-9][0-9]{0,15}')
            and try_cast(item_key as bigint) < 9007199254740992,
            item_key::bigint,
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
        parsed.item_key,
        if(kinds.is_integer, parsed.number, null) as number
    from parsed
    cross join kinds
),

numbered as (
    select
        item_key,
        row_number() over (order by number, item_key)::integer as item_id
    from sorted
),

catalogue as (
    select count(*) as n_items
    from items
),

described as (
    select
        numbered.item_id,
        coalesce(nullif(items.title, ''), numbered.item_key) as title,
        items.release_year,
        coalesce(items.genres, []) as genres,
        numbered.item_key,
        -- an item that the catalogue lacks stays in histories and is not recommended
        items.item_key is not null or catalogue.n_items = 0 as is_listed
    from numbered
    cross join catalogue
    left join items on numbered.item_key = items.item_key
    order by numbered.item_id
)

select * from described
