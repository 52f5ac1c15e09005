-- every item has a positive id
with items as (
    select
        rowid as row_id,
        *
    from stg_items
),

offenders as (
    select
        row_id,
        item_id,
        title,
        count(*) over () as n_items
    from items
    where coalesce(item_id, 0) < 1
    order by row_id
    limit 1
)

select * from offenders
