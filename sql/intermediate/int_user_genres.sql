-- one row per (user_id, genre) of the history: the user's taste for the genre
with history as (
    select * from int_history
),

items as (
    select * from stg_items
),

by_genre as (
    select
        history.user_id,
        history.n_history,
        history.rating,
        history.weight,
        history.is_liked,
        unnest(items.genres) as genre
    from history
    inner join items using (item_id)
),

overall as (
    select
        genre,
        count(*) / (select count(*) from history) as share
    from by_genre
    group by genre
),

affinities as (
    select
        by_genre.user_id,
        by_genre.genre,
        count(*) / any_value(by_genre.n_history) as history_share,
        sum(by_genre.weight) / 10 as recent_share,
        count(*) filter (by_genre.is_liked)
        / any_value(by_genre.n_history) as liked_share,
        sum(by_genre.rating - 3.5) / (count(*) + 5) as avg_liking,
        any_value(overall.share) as overall_share
    from by_genre
    inner join overall using (genre)
    group by by_genre.user_id, by_genre.genre
),

-- decimals, because averages of floats depend on the order in which threads add
compared as (
    select
        user_id,
        genre,
        history_share::decimal(9, 6) as history_share,
        recent_share::decimal(9, 6) as recent_share,
        liked_share::decimal(9, 6) as liked_share,
        avg_liking::decimal(9, 6) as avg_liking,
        (history_share / overall_share)::decimal(12, 6) as history_lift
    from affinities
)

select * from compared
