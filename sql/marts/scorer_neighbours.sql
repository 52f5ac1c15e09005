-- one row per (item_id, other_item_id) of int_item_neighbours, in millionths
with neighbours as (
    select * from int_item_neighbours
),

counted as (
    select
        item_id,
        other_item_id,
        (1000000 * similarity)::integer as similarity,
        (1000000 * liked_similarity)::integer as liked_similarity
    from neighbours
    order by item_id, other_item_id
)

select * from counted
