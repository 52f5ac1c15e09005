-- one row per ordered pair of items that the same co-occurrence user rated before the
-- cutoff. Built in $n_parts parts: this one holds the pairs whose lower item_id modulo
-- $n_parts is $part.
with cooccurrence_ratings as (
    select * from int_cooccurrence_ratings
),

-- the groups of one part fit into the processor's cache
of_part as (
    select * from cooccurrence_ratings
    where mod(item_id, $n_parts) = $part
),

together as (
    select
        one.item_id,
        other.item_id as other_item_id,
        other.position - one.position as distance,
        abs(other.rated_at - one.rated_at) < 300 as is_same_session
    from of_part as one
    inner join cooccurrence_ratings as other
        on
            one.user_id = other.user_id
            and one.item_id < other.item_id
),

counted as (
    select
        item_id,
        other_item_id,
        count(*) as n_both,
        count(*) filter (is_same_session) as n_same_session,
        -- closeness in time, summed: 1 for the next rating, 0.05 for the twentieth
        sum(if(distance between 1 and 20, 21 - distance, 0)) / 20 as n_next,
        sum(if(distance between -20 and -1, 21 + distance, 0)) / 20 as n_previous
    from together
    group by item_id, other_item_id
),

both_ways as (
    select
        item_id,
        other_item_id,
        n_both,
        n_same_session,
        n_next,
        n_previous
    from counted
    union all
    select
        other_item_id as item_id,
        item_id as other_item_id,
        n_both,
        n_same_session,
        n_previous as n_next,
        n_next as n_previous
    from counted
)

select * from both_ways
