-- one row per (user_id, rank) of ranked_items: the items of the user's history that
-- speak most for the one ranked there, as text, and none where nothing does
with listed as (
    select * from ranked_items
),

history as (
    select int_history.*
    from int_history
    semi join listed using (user_id)
    -- what is forgotten drives nothing, and what was disliked is no reason to be told
    where int_history.weight > 0 and not int_history.is_disliked
),

neighbours as (
    select * from int_item_neighbours
),

-- the terms that recent_similarity of pair_features is the sum of
spoken as (
    select
        history.user_id,
        neighbours.other_item_id,
        history.item_id,
        neighbours.similarity * history.weight as weight
    from history
    inner join neighbours using (item_id)
    where neighbours.similarity > 0
),

-- the three greatest rows a place; the minus lets the lower id win among equals
strongest as (
    select
        listed.user_id,
        listed.rank,
        max(row(spoken.weight, -spoken.item_id), 3) as reasons
    from listed
    inner join spoken
        on
            listed.user_id = spoken.user_id
            and listed.item_id = spoken.other_item_id
    group by listed.user_id, listed.rank
),

told as (
    select
        listed.user_id,
        listed.rank,
        concat_ws(
            ',',
            -strongest.reasons[1][2],
            -strongest.reasons[2][2],
            -strongest.reasons[3][2]
        ) as because
    from listed
    left join strongest using (user_id, rank)
    order by listed.user_id, listed.rank
)

select * from told
