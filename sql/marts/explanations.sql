-- one row per (user_id, rank) of ranked_items: up to three items of the user's history
-- that contributed most to the item's recent_similarity, as text, strongest first
with ranked as (
    select * from ranked_items
),

history as (
    select int_history.*
    from int_history
    semi join ranked using (user_id)
    inner join films using (item_id)
    -- a disliked item is not a convincing reason
    where int_history.weight > 0 and not int_history.is_disliked
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

neighbours as (
    select * from int_item_neighbours
),

-- the terms whose sum is recent_similarity in pair_features
terms as (
    select
        history.user_id,
        neighbours.other_item_id,
        history.item_id,
        neighbours.similarity * history.weight as term
    from history
    inner join neighbours using (item_id)
    where neighbours.similarity > 0
),

-- the three largest terms per list entry; of equal ones the minus prefers the lower id
reasons as (
    select
        ranked.user_id,
        ranked.rank,
        max(row(terms.term, -terms.item_id), 3) as strongest
    from ranked
    inner join terms
        on
            ranked.user_id = terms.user_id
            and ranked.item_id = terms.other_item_id
    group by ranked.user_id, ranked.rank
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
