-- one row per rating that is among the $n highest or the $n last of a user of $user_ids
with users as (
    select unnest($user_ids::integer[]) as user_id
),

history as (
    select int_history.*
    from int_history
    semi join users using (user_id)
),

ranked as (
    select
        user_id,
        item_id,
        rating,
        n_history as n_ratings,
        row_number() over (
            partition by user_id
            -- equal ratings: newer ones first, they are closer to the user's taste now
            order by rating desc, n_back asc, item_id asc
        ) as highest_rank,
        row_number() over (
            partition by user_id
            order by n_back asc, item_id asc
        ) as last_rank
    from history
),

highlights as (
    select *
    from ranked
    where least(highest_rank, last_rank) <= $n
    order by user_id, last_rank
)

select * from highlights
