-- one row per user as of the cutoff
with history as (
    select * from int_history
),

items as (
    select * from item_features
),

users as (
    select * from stg_users
),

rated as (
    select
        history.user_id,
        any_value(history.n_history) as n_ratings,
        sqrt(
            greatest(avg(history.rating * history.rating) - avg(history.rating) ** 2, 0)
        )
            as stddev_rating,
        count(*) filter (history.is_liked) / count(*) as liked_share,
        max(history.rated_at) as last_rated_at,
        max(history.rated_at) - min(history.rated_at) as history_seconds,
        max(history.rated_at) - min(history.rated_at) filter (history.n_back < 10)
            as last_ten_seconds,
        avg(items.release_year) as avg_release_year,
        avg(items.release_year) filter (history.n_back < 10)
            as last_ten_avg_release_year,
        avg(items.n_ratings) as avg_n_item_ratings,
        avg(items.n_ratings) filter (history.n_back < 10)
            as last_ten_avg_n_item_ratings,
        avg(items.avg_position_share::decimal(9, 6)) filter (history.n_back < 10)
            as last_ten_avg_position_share
    from history
    inner join items using (item_id)
    group by history.user_id
),

described as (
    select
        rated.*,
        users.age,
        users.gender || users.age // 15 as age_audience,
        users.occupation as occupation_audience
    from rated
    left join users using (user_id)
)

select * from described
