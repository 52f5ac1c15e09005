-- no item_id stands for two items
with items as (
    select * from stg_items
),

repeated as (
    select
        item_id,
        count(*) as n_items
    from items
    group by item_id
    having count(*) > 1
),

offenders as (
    select
        item_id,
        n_items,
        count(*) over () as n_repeated_ids
    from repeated
    order by item_id
    limit 1
)

select * from offenders
