-- no item_id stands for two items
with items as (
    select
        rowid as row_id,
        *
    from stg_items
),

repeated as (
    select
        item_id,
        count(*) as n_items,
        max(row_id) as row_id
    from items
    group by item_id
    having count(*) > 1
),

offenders as (
    select
        row_id,
        item_id,
        n_items,
        count(*) over () as n_repeated_ids
    from repeated
    order by row_id
    limit 1
)

select * from offenders
