-- one row per ordered pair of items that some user rated both before the moment
with history as (
    select * from int_history
    -- the work grows with the square of a history's length
    where n_back < 1000
),

together as (
    select
        earlier.item_id,
        later.item_id as other_item_id,
        later.position - earlier.position as distance,
        abs(later.rated_at - earlier.rated_at) < 300 as is_same_session,
        earlier.is_liked and later.is_liked as is_both_liked
    from history as earlier
    inner join history as later
        on
            earlier.user_id = later.user_id
            and earlier.item_id <> later.item_id
),

counted as (
    select
        item_id,
        other_item_id,
        count(*) as n_both,
        count(*) filter (is_both_liked) as n_both_liked,
        count(*) filter (is_same_session) as n_same_session,
        -- how often, and how closely within twenty ratings, one came after the other
        sum(if(distance between 1 and 20, 21 - distance, 0)) / 20 as n_next,
        sum(if(distance between -20 and -1, 21 + distance, 0)) / 20 as n_previous
    from together
    group by item_id, other_item_id
)

select * from counted
