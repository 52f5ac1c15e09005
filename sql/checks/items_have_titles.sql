-- every item has a title
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
    where coalesce(title, '') = ''
    order by row_id
    limit 1
)

select * from offenders
