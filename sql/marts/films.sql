-- one row per item: the id that stands for its film, and whether lists may hold the
-- item. If $merges_films, items of the same title and year are one film, for which the
-- most rated one stands; else each item is a film of its own.
with items as (
    select * from stg_items
),

counts as (
    select * from int_item_counts
),

eligible as (
    -- a rule that joins may give an item several times
    select distinct item_id
    from eligible_items
),

described as (
    select
        items.item_id,
        items.title,
        items.release_year,
        coalesce(counts.n_ratings, 0) as n_ratings,
        -- an unlisted item has no title, whatever the rule of eligible_items
        items.is_listed and eligible.item_id is not null as is_eligible
    from items
    left join counts on items.item_id = counts.item_id
    left join eligible on items.item_id = eligible.item_id
),

-- 0 for the items whose title and year say which film they are
keyed as (
    select
        *,
        if($merges_films and release_year is not null, 0, item_id) as own_id
    from described
),

merged as (
    select
        item_id,
        first_value(item_id) over (
            partition by own_id, title, release_year
            order by n_ratings desc, item_id asc
        ) as film_id,
        bool_and(is_eligible) over (
            partition by own_id, title, release_year
        ) as is_film_eligible
    from keyed
),

films as (
    select
        item_id,
        film_id,
        is_film_eligible and item_id = film_id as is_eligible
    from merged
    order by item_id
)

select * from films
