-- one row per (item_id, other_item_id) where the other item followed within 100
-- ratings. Built in $n_parts parts: this one holds the items whose item_id modulo
-- $n_parts is $part.
with cooccurrence_ratings as (
    select
        int_cooccurrence_ratings.*,
        int_cooccurrence_ratings.position // 100 as hundred
    from int_cooccurrence_ratings
    semi join int_modelled_items using (item_id)
),

-- ratings at most 100 apart are in the same hundred of positions or in adjacent ones
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

-- A state is a history whose rating n positions back weighs before ** n. Its target is
-- the future, whose nth rating weighs (1 - after) * after ** (n - 1). Two ratings
-- `distance` apart add `together` to the product of states with states, and `next` to
-- that of states with targets: a sum over the states that end between the two.
-- Decimals, because a sum of floats depends on the order in which threads add.
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
