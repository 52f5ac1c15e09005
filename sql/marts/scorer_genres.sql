-- one row per (user_id, genre) in the history of a user of $user_ids, in millionths
with users as (
    select unnest($user_ids::integer[]) as user_id
),

genres as (
    select int_user_genres.*
    from int_user_genres
    semi join users using (user_id)
),

counted as (
    select
        user_id,
        genre,
        (1000000 * history_share)::bigint as history_share,
        (1000000 * recent_share)::bigint as recent_share,
        (1000000 * liked_share)::bigint as liked_share,
        (1000000 * avg_liking)::bigint as avg_liking,
        (1000000 * history_lift)::bigint as history_lift
    from genres
    order by user_id, genre
)

select * from counted
