-- one row per (kind, genre, rank): the $top_n eligible films of a genre, or of all if
-- null, with the most ratings before the cutoff (popular), with the most of late
-- (trending), and those that came last (new)
with history as (
    select
        item_id,
        rated_at
    from int_history
),

newest as (
    select max(rated_at) as rated_at
    from history
),

rated as (
    select
        history.item_id,
        count(*) as n_ratings,
        -- a rating counts half for each two weeks that it is older than the newest one
        sum(
            pow(0.5, (newest.rated_at - history.rated_at) / 1209600)::decimal(7, 6)
        ) as n_of_late,
        min(history.rated_at) as first_rated_at
    from history
    cross join newest
    group by history.item_id
),

eligible as (
    select
        items.item_id,
        items.genres,
        rated.n_ratings,
        rated.n_of_late,
        items.release_year + 0.9999 as released_by,
        -- in years, each of as many seconds as the Gregorian calendar has on average
        1970 + rated.first_rated_at / 31556952 as rated_from,
        1970 + newest.rated_at / 31556952 as now
    from stg_items as items
    inner join films using (item_id)
    left join rated using (item_id)
    cross join newest
    where films.is_eligible
),

scored as (
    select
        'popular' as kind,
        item_id,
        genres,
        n_ratings::decimal(18, 4) as score
    from eligible
    union all
    select
        'trending' as kind,
        item_id,
        genres,
        n_of_late::decimal(18, 4) as score
    from eligible
    -- released or rated first, whichever was earlier: a release year may be wrong
    union all
    select
        'new' as kind,
        item_id,
        genres,
        if(
            coalesce(released_by, rated_from) is null,
            null,
            least(released_by, rated_from, now)
        )::decimal(18, 4) as score
    from eligible
),

tagged as (
    select
        kind,
        item_id,
        -- as it is written, so that a list and several merged have the same order
        coalesce(score, 0)::float as score,
        unnest(list_prepend(null, list_distinct(genres))) as genre
    from scored
),

ranked as (
    select
        *,
        row_number() over (
            partition by kind, genre
            order by score desc, item_id asc
        ) as rank
    from tagged
    qualify rank <= $top_n
),

catalogue_lists as (
    select *
    from ranked
    order by kind, genre, rank
)

select * from catalogue_lists
