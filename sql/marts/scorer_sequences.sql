-- one row per (item_id, other_item_id) of int_item_sequences, in millionths
with sequences as (
    select * from int_item_sequences
),

counted as (
    select
        item_id,
        other_item_id,
        (1000000 * next_share)::integer as next_share,
        (1000000 * next_similarity)::integer as next_similarity,
        (1000000 * previous_similarity)::integer as previous_similarity,
        (1000000 * session_similarity)::integer as session_similarity
    from sequences
    order by item_id, other_item_id
)

select * from counted
