-- every item has a positive id
with items as (
    select * from stg_items
),

offenders as (
    select
        item_id,
        title,
        count(*) over () as n_items
    from items
    where coalesce(item_id, 0) < 1
    order by item_id, title
    limit 1
)

select * from offenders
