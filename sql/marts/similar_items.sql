-- one row per (item_id, rank): the $top_n other eligible films most similar to an item,
-- by who rated both or, for an item that shares no user with others, by genres and year
with eligible as (
    select item_id
    from films
    where is_eligible
),

rated_both as (
    select
        neighbours.item_id,
        neighbours.other_item_id,
        neighbours.similarity
    from int_item_neighbours as neighbours
    semi join eligible on neighbours.other_item_id = eligible.item_id
    inner join films on neighbours.item_id = films.item_id
    where neighbours.other_item_id != films.film_id
),

-- many items share genres and year: compare only the one with the lowest id
described as (
    select
        item_id,
        genres,
        release_year,
        min(item_id) over (partition by genres, release_year) as description_id,
        list_append(genres, release_year::varchar) as tags
    from stg_items
),

alone as (
    select
        described.item_id,
        described.description_id,
        films.film_id
    from described
    inner join films using (item_id)
    anti join rated_both using (item_id)
),

descriptions as (
    select
        described.item_id as description_id,
        described.genres,
        described.release_year,
        described.tags
    from described
    semi join alone on described.item_id = alone.description_id
),

tagged as (
    select
        described.item_id,
        unnest(described.tags) as tag
    from described
    semi join eligible using (item_id)
),

counted as (
    select
        tagged.tag,
        tagged.item_id,
        coalesce(counts.n_ratings, 0) as n_ratings
    from tagged
    left join int_item_counts as counts using (item_id)
),

-- the most rated items of each genre and year, so that the work is bounded
offered as (
    select
        tag,
        item_id,
        n_ratings
    from counted
    qualify
        row_number() over (
            partition by tag
            order by n_ratings desc, item_id asc
        ) <= 2 * $top_n
),

wanted as (
    select
        description_id,
        unnest(tags) as tag
    from descriptions
),

candidates as (
    select distinct
        wanted.description_id,
        offered.item_id,
        offered.n_ratings
    from wanted
    inner join offered using (tag)
),

-- three parts the genres that both have, one part the distance of their years
matched as (
    select
        candidates.description_id,
        candidates.item_id as other_item_id,
        candidates.n_ratings,
        (
            coalesce(
                0.75 * len(list_intersect(one.genres, other.genres)) / nullif(
                    len(list_distinct(list_concat(one.genres, other.genres))), 0
                ),
                0
            )
            + coalesce(2.5 / (10 + abs(one.release_year - other.release_year)), 0)
        )::decimal(7, 6) as similarity
    from candidates
    inner join descriptions as one using (description_id)
    inner join described as other on candidates.item_id = other.item_id
),

-- one more than are wanted, because no item is listed with itself
nearest as (
    select
        description_id,
        other_item_id,
        similarity,
        row_number() over (
            partition by description_id
            order by similarity desc, n_ratings desc, other_item_id asc
        ) as place
    from matched
    qualify place <= $top_n + 1
),

alike as (
    select
        item_id,
        other_item_id,
        similarity,
        0 as place
    from rated_both
    union all
    select
        alone.item_id,
        nearest.other_item_id,
        nearest.similarity,
        nearest.place
    from alone
    inner join nearest using (description_id)
    where alone.film_id != nearest.other_item_id
),

ranked as (
    select
        item_id,
        other_item_id,
        similarity as score,
        row_number() over (
            partition by item_id
            order by similarity desc, place asc, other_item_id asc
        ) as rank
    from alike
),

similar_items as (
    select *
    from ranked
    where rank <= $top_n
    order by item_id, rank
)

select * from similar_items
