-- one row per item as of the cutoff, as the compiled scorer reads it
with items as (
    select * from item_features
),

catalogue as (
    select * from stg_items
),

films as (
    select * from films
),

described as (
    select
        items.item_id,
        items.release_year,
        items.n_ratings,
        items.avg_rating,
        items.stddev_rating,
        items.liked_share,
        items.avg_position,
        items.avg_position_share,
        items.avg_n_back,
        items.avg_n_history,
        items.last_ten_share,
        items.last_rated_at,
        items.female_share,
        items.avg_age,
        catalogue.genres,
        films.film_id,
        films.is_eligible
    from items
    inner join catalogue using (item_id)
    inner join films using (item_id)
    order by items.item_id
)

select * from described
