-- one row per (item_id, other_item_id): the 120 items that are closest to an item in
-- time by any of four measures
with pairs as (
    select * from int_item_pairs
    where n_next > 0 or n_previous > 0 or n_same_session > 0
),

counts as (
    select * from int_item_counts
),

near as (
    select
        pairs.item_id,
        pairs.other_item_id,
        (pairs.n_next / (item.n_sampled + 2.5))::decimal(7, 6) as next_share,
        (
            pairs.n_next / (sqrt(item.n_sampled * other.n_sampled) + 2.5)
        )::decimal(7, 6) as next_similarity,
        (
            pairs.n_previous / (sqrt(item.n_sampled * other.n_sampled) + 2.5)
        )::decimal(7, 6) as previous_similarity,
        (
            pairs.n_same_session / (sqrt(item.n_sampled * other.n_sampled) + 10)
        )::decimal(7, 6) as session_similarity
    from pairs
    inner join counts as item on pairs.item_id = item.item_id
    inner join counts as other on pairs.other_item_id = other.item_id
),

ranked as (
    select
        *,
        row_number() over (
            partition by item_id
            order by next_share desc, other_item_id asc
        ) as next_share_rank,
        row_number() over (
            partition by item_id
            order by next_similarity desc, other_item_id asc
        ) as next_rank,
        row_number() over (
            partition by item_id
            order by previous_similarity desc, other_item_id asc
        ) as previous_rank,
        row_number() over (
            partition by item_id
            order by session_similarity desc, other_item_id asc
        ) as session_rank
    from near
),

closest as (
    select
        item_id,
        other_item_id,
        next_share,
        next_similarity,
        previous_similarity,
        session_similarity
    from ranked
    where least(next_share_rank, next_rank, previous_rank, session_rank) <= 120
)

select * from closest
