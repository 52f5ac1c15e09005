-- one row per item as of the cutoff
with history as (
    select * from int_history
),

items as (
    select * from stg_items
),

users as (
    select * from stg_users
),

rated as (
    select
        history.item_id,
        count(*) as n_ratings,
        avg(history.rating) as avg_rating,
        -- from exact sums, because stddev's result depends on the order of the rows
        sqrt(
            greatest(avg(history.rating * history.rating) - avg(history.rating) ** 2, 0)
        )
            as stddev_rating,
        count(*) filter (history.is_liked) / count(*) as liked_share,
        avg(history.position) as avg_position,
        avg(history.position_share) as avg_position_share,
        avg(history.n_back) as avg_n_back,
        avg(history.n_history) as avg_n_history,
        count(*) filter (history.n_back < 10) / count(*) as last_ten_share,
        max(history.rated_at) as last_rated_at,
        count(*) filter (users.gender = 'F')
        / nullif(count(users.gender), 0) as female_share,
        avg(users.age) as avg_age
    from history
    left join users using (user_id)
    group by history.item_id
),

described as (
    select
        items.item_id,
        items.release_year,
        coalesce(rated.n_ratings, 0) as n_ratings,
        rated.* exclude (item_id, n_ratings)
    from items
    left join rated using (item_id)
)

select * from described
