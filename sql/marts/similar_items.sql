-- one row per (item_id, rank): the $top_n other eligible films most similar to an item
with neighbours as (
    select int_item_neighbours.*
    from int_item_neighbours
    inner join films using (item_id)
    inner join films as near on int_item_neighbours.other_item_id = near.item_id
    where near.is_eligible and near.film_id != films.film_id
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
