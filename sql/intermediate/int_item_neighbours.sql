-- one row per (item_id, other_item_id): the 100 items most similar to an item
with pairs as (
    select * from int_item_pairs
),

counts as (
    select * from int_item_counts
),

compared as (
    select
        pairs.item_id,
        pairs.other_item_id,
        -- a cosine, shrunk towards 0 where few users rated both
        (
            pairs.n_both / (sqrt(item.n_sampled * other.n_sampled) + 10)
        )::decimal(7, 6) as similarity
    from pairs
    inner join counts as item on pairs.item_id = item.item_id
    inner join counts as other on pairs.other_item_id = other.item_id
),

ranked as (
    select
        *,
        row_number() over (
            partition by item_id
            order by similarity desc, other_item_id asc
        ) as similarity_rank
    from compared
),

nearest as (
    select
        item_id,
        other_item_id,
        similarity
    from ranked
    where similarity_rank <= 100
)

select * from nearest
