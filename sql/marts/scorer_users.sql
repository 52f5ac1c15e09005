-- one row per user of $user_ids as of the cutoff, as the compiled scorer reads it
with users as (
    select unnest($user_ids::integer[]) as user_id
),

described as (
    select
        user_features.user_id,
        user_features.n_ratings,
        user_features.stddev_rating,
        user_features.liked_share,
        user_features.last_rated_at,
        user_features.history_seconds,
        user_features.last_ten_seconds,
        user_features.avg_release_year,
        user_features.last_ten_avg_release_year,
        user_features.avg_n_item_ratings,
        user_features.last_ten_avg_n_item_ratings,
        user_features.last_ten_avg_position_share,
        user_features.age,
        user_features.age_audience,
        user_features.occupation_audience,
        user_features.last_rated_at // 604800 as week
    from user_features
    semi join users using (user_id)
    order by user_features.user_id
)

select * from described
