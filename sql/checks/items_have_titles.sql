-- every item has a title
with items as (
    select * from stg_items
),

offenders as (
    select
        item_id,
        title,
        count(*) over () as n_items
    from items
    where coalesce(title, '') = ''
    order by item_id, title
    limit 1
)

select * from offenders
