-- one row per item of own data
with items as (
    select * from typed_items
),

numbered as (
    select
        id as item_id,
        external_key as item_key
    from numbered_keys
    where kind = 'item'
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
