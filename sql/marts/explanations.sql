-- one row per (user_id, rank) of ranked_items: up to three items of the user's history
-- that speak for the item, as text, strongest first
with ranked as (
    select * from ranked_items
),

history as (
    select int_history.*
    from int_history
    semi join ranked using (user_id)
    inner join films using (item_id)
    -- a disliked item is not a convincing reason
    where int_history.n_back < 100 and not int_history.is_disliked
    -- nor is a film that is named twice
    qualify
        row_number() over (
            partition by int_history.user_id, films.film_id
            order by
                int_history.item_id = films.film_id desc,
                int_history.n_back asc,
                int_history.item_id asc
        ) = 1
),

totals as (
    select
        item_id,
        sum(similarity) as similarity
    from int_item_neighbours
    group by item_id
),

-- an item that is like many says little about one of them
neighbours as (
    select
        near.item_id,
        near.other_item_id,
        near.similarity * sqrt(near.similarity / totals.similarity) as specificity
    from int_item_neighbours as near
    inner join totals on near.item_id = totals.item_id
    where near.similarity > 0
),

-- what the user did not like is a reason only where little else is
terms as (
    select
        ranked.user_id,
        ranked.rank,
        history.item_id,
        neighbours.specificity
        * history.slow_weight
        * if(history.is_liked, 1, 0.05) as strength
    from ranked
    inner join neighbours on ranked.item_id = neighbours.other_item_id
    inner join history
        on
            ranked.user_id = history.user_id
            and neighbours.item_id = history.item_id
),

-- of 20 entries, what a page shows, an item speaks for the three that it fits best;
-- for others less and less
placed as (
    select
        *,
        row_number() over (
            partition by user_id, item_id, (rank - 1) // 20
            order by strength desc, rank asc
        ) as place
    from terms
),

-- the three strongest per list entry; of equal ones the minus prefers the lower id
reasons as (
    select
        user_id,
        rank,
        max(
            row(strength * pow(least(1, 3.0 / place), 4), -item_id), 3
        ) as strongest
    from placed
    group by user_id, rank
),

explained as (
    select
        ranked.user_id,
        ranked.rank,
        concat_ws(
            ',',
            -reasons.strongest[1][2],
            -reasons.strongest[2][2],
            -reasons.strongest[3][2]
        ) as because
    from ranked
    left join reasons using (user_id, rank)
    order by ranked.user_id, ranked.rank
)

select * from explained
