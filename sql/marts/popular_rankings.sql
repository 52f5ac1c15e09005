-- one row per (user of $user_ids, rank): the $top_n eligible films with the most
-- ratings that are not in the user's history
with users as (
    select unnest($user_ids::integer[]) as user_id
),

history as (
    select
        int_history.user_id,
        films.film_id
    from int_history
    semi join users using (user_id)
    inner join films using (item_id)
),

eligible as (
    select item_id
    from films
    where is_eligible
),

histories as (
    select
        user_id,
        -- a user with n ratings has not seen $top_n of the first n + $top_n items
        count(*) + $top_n as n_enough
    from history
    group by user_id
),

by_popularity as (
    select
        eligible.item_id,
        coalesce(int_item_counts.n_ratings, 0) as n_ratings,
        row_number() over (
            order by
                int_item_counts.n_ratings desc nulls last,
                eligible.item_id asc
        ) as rank
    from eligible
    left join int_item_counts using (item_id)
),

unseen as (
    select
        histories.user_id,
        by_popularity.item_id,
        by_popularity.n_ratings,
        by_popularity.rank
    from histories
    inner join by_popularity on histories.n_enough >= by_popularity.rank
    anti join history
        on
            histories.user_id = history.user_id
            and by_popularity.item_id = history.film_id
),

ranked as (
    select
        user_id,
        item_id,
        n_ratings as score,
        row_number() over (
            partition by user_id
            order by rank, item_id
        ) as rank
    from unseen
),

popular_rankings as (
    select *
    from ranked
    where rank <= $top_n
    order by user_id, rank
)

select * from popular_rankings
