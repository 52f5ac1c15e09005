-- every rated item is in the items file
with ratings as (
    select
        rowid as row_id,
        *
    from stg_ratings
),

items as (
    select * from stg_items
),

rated as (
    select
        item_id,
        count(*) as n_ratings,
        min(row_id) as row_id
    from ratings
    group by item_id
),

offenders as (
    select
        rated.row_id,
        rated.item_id,
        rated.n_ratings,
        count(*) over () as n_unknown_items
    from rated
    anti join items on rated.item_id = items.item_id
    order by rated.row_id
    limit 1
)

select * from offenders
