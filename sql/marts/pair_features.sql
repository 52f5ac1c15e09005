-- one row per candidate pair as of the cutoff: the features that the model takes
with candidates as (
    select * from candidate_pairs
),

users as (
    select user_features.*
    from user_features
    semi join candidates using (user_id)
),

items as (
    select * from item_features
),

history as (
    select int_history.*
    from int_history
    semi join candidates using (user_id)
),

sequences as (
    select
        history.user_id,
        along.other_item_id as item_id,
        sum(along.next_share * history.weight) as next_share,
        sum(along.next_similarity * history.fast_weight) as next_similarity,
        sum(along.next_similarity * history.slow_weight) as slow_next_similarity,
        max(along.next_similarity * history.weight) as max_next_similarity,
        sum(along.previous_similarity * history.fast_weight) as previous_similarity,
        sum(along.previous_similarity * history.slow_weight)
            as slow_previous_similarity,
        sum(along.session_similarity * history.weight) as session_similarity
    from history
    inner join int_item_sequences as along using (item_id)
    -- training asks for a small sample of the pairs; sum for these only
    semi join candidates
        on
            history.user_id = candidates.user_id
            and along.other_item_id = candidates.item_id
    where history.n_back < 30
    group by history.user_id, along.other_item_id
),

-- many items share a set of genres: compute each user's affinity once per set
genre_sets as (
    select distinct genres
    from stg_items
),

genre_affinities as (
    select
        users.user_id,
        genre_sets.genres,
        avg(coalesce(affinities.history_share, 0)) as genre_share,
        max(affinities.history_share) as max_genre_share,
        avg(coalesce(affinities.recent_share, 0)) as recent_genre_share,
        avg(coalesce(affinities.liked_share, 0)) as liked_genre_share,
        avg(affinities.avg_liking) as genre_liking,
        avg(coalesce(affinities.history_lift, 0)) as genre_lift
    from users
    cross join genre_sets
    cross join unnest(genre_sets.genres) as one (genre)
    left join int_user_genres as affinities
        on users.user_id = affinities.user_id and one.genre = affinities.genre
    group by users.user_id, genre_sets.genres
),

joined as (
    select
        candidates.user_id,
        candidates.item_id,
        candidates.label,
        users.n_ratings::float as user_n_ratings,
        users.stddev_rating::float as user_stddev_rating,
        users.liked_share::float as user_liked_share,
        users.history_seconds::float as user_history_seconds,
        users.last_ten_seconds::float as user_last_ten_seconds,
        users.avg_release_year::float as user_avg_release_year,
        users.avg_n_item_ratings::float as user_avg_n_item_ratings,
        users.last_ten_avg_n_item_ratings::float as user_last_ten_avg_n_item_ratings,
        users.last_ten_avg_position_share::float as user_last_ten_avg_position_share,
        items.n_ratings::float as item_n_ratings,
        items.avg_rating::float as item_avg_rating,
        items.stddev_rating::float as item_stddev_rating,
        items.liked_share::float as item_liked_share,
        items.avg_position::float as item_avg_position,
        items.avg_position_share::float as item_avg_position_share,
        items.avg_n_back::float as item_avg_n_back,
        items.last_ten_share::float as item_last_ten_share,
        items.female_share::float as item_female_share,
        items.release_year::float as item_release_year,
        weeks.n_until::float as item_n_until,
        weeks.n_last_weeks::float as item_n_last_weeks,
        (users.last_rated_at - items.last_rated_at)::float as seconds_since_rated,
        (items.release_year - users.avg_release_year)::float as release_year_gap,
        (items.release_year - users.last_ten_avg_release_year)::float
            as last_ten_release_year_gap,
        (items.avg_position_share - users.last_ten_avg_position_share)::float
            as position_share_gap,
        (items.avg_position - users.n_ratings)::float as position_gap,
        (items.avg_n_history - users.n_ratings)::float as n_history_gap,
        abs(items.avg_age - users.age)::float as age_gap,
        by_age.lift::float as age_audience_lift,
        by_occupation.lift::float as occupation_audience_lift,
        genre_affinities.genre_share::float as genre_share,
        genre_affinities.max_genre_share::float as max_genre_share,
        genre_affinities.recent_genre_share::float as recent_genre_share,
        genre_affinities.liked_genre_share::float as liked_genre_share,
        genre_affinities.genre_liking::float as genre_liking,
        genre_affinities.genre_lift::float as genre_lift,
        sequences.next_share::float as next_share,
        sequences.next_similarity::float as next_similarity,
        sequences.slow_next_similarity::float as slow_next_similarity,
        sequences.max_next_similarity::float as max_next_similarity,
        sequences.previous_similarity::float as previous_similarity,
        sequences.slow_previous_similarity::float as slow_previous_similarity,
        sequences.session_similarity::float as session_similarity
    from candidates
    inner join users using (user_id)
    inner join items using (item_id)
    inner join stg_items as catalogue using (item_id)
    left join sequences using (user_id, item_id)
    left join genre_affinities
        on
            candidates.user_id = genre_affinities.user_id
            and catalogue.genres = genre_affinities.genres
    left join int_item_weeks as weeks
        on
            candidates.item_id = weeks.item_id
            and users.last_rated_at // 604800 = weeks.week
    left join int_item_audiences as by_age
        on
            candidates.item_id = by_age.item_id
            and users.age_audience = by_age.audience
    left join int_item_audiences as by_occupation
        on
            candidates.item_id = by_occupation.item_id
            and users.occupation_audience = by_occupation.audience
)

select * from joined
