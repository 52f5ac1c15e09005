-- one row per (item_id, other_item_id) of which the other came within 100 ratings; of
-- $n_parts parts the one that holds the items whose id leaves $part
with cooccurrence_ratings as (
    select
        int_cooccurrence_ratings.*,
        int_cooccurrence_ratings.position // 100 as hundred
    from int_cooccurrence_ratings
    semi join int_modelled_items using (item_id)
),

-- who comes within 100 ratings is in the same hundred of them or in the next
of_part as (
    select
        user_id,
        item_id,
        position,
        unnest([hundred, hundred + 1]) as hundred
    from cooccurrence_ratings
    where mod(item_id, $n_parts) = $part
),

distances as (
    select unnest(range(1, 101)) as distance
),

-- A state is a history in which a rating that lies n back weighs far ** n. `together`
-- is what two ratings `distance` apart add to the products of all states, `next` what
-- they add to those with what followed, which counts the less the later it came: the
-- sum over the states in between of far ** (before it) * near ** (after it).
-- Decimals, because the sum of floats depends on the order in which threads add.
decays as (
    select
        distance,
        pow(0.9, distance)::decimal(9, 8) as near_together,
        (
            0.5 * (pow(0.9, distance) - pow(0.5, distance)) / (0.9 - 0.5)
        )::decimal(9, 8) as near_next,
        pow(0.97, distance)::decimal(9, 8) as far_together,
        (0.03 * distance * pow(0.97, distance - 1))::decimal(9, 8) as far_next,
        pow(0.5, distance)::decimal(9, 8) as soon_together,
        (
            0.7 * (pow(0.5, distance) - pow(0.3, distance)) / (0.5 - 0.3)
        )::decimal(9, 8) as soon_next
    from distances
),

followed as (
    select
        one.item_id,
        other.item_id as other_item_id,
        other.position - one.position as distance
    from of_part as one
    inner join cooccurrence_ratings as other
        on
            one.user_id = other.user_id
            and one.hundred = other.hundred
            and other.position between one.position + 1 and one.position + 100
),

summed as (
    select
        followed.item_id,
        followed.other_item_id,
        sum(decays.near_together)::double as near_together,
        sum(decays.near_next)::double as near_next,
        sum(decays.far_together)::double as far_together,
        sum(decays.far_next)::double as far_next,
        sum(decays.soon_together)::double as soon_together,
        sum(decays.soon_next)::double as soon_next
    from followed
    inner join decays using (distance)
    group by followed.item_id, followed.other_item_id
)

select * from summed
