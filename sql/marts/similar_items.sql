-- one row per (item_id, rank): the $top_n eligible items most similar to an item
with neighbours as (
    select int_item_neighbours.*
    from int_item_neighbours
    semi join eligible_items
        on int_item_neighbours.other_item_id = eligible_items.item_id
),

ranked as (
    select
        item_id,
        other_item_id,
        similarity as score,
        row_number() over (
            partition by item_id
            order by similarity desc, other_item_id asc
        ) as rank
    from neighbours
),

similar_items as (
    select *
    from ranked
    where rank <= $top_n
    order by item_id, rank
)

select * from similar_items
