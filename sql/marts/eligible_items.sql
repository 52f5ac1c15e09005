-- one row per item that may be recommended
with items as (
    select * from stg_items
),

eligible as (
    select
        item_id,
        item_key
    from items
)

select * from eligible
