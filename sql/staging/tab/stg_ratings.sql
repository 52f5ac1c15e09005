-- one row per (user_id, item_id) of ml-100k's u.data
with source as (
    select *
    from
        read_csv(
            $ratings_path,
            delim = '\t',
            header = false,
            quote = '',
            escape = '',
            auto_detect = false,
            hive_partitioning = false,
            columns = {
                'user_id': 'INTEGER',
                'item_id': 'INTEGER',
                'rating': 'DOUBLE',
                'rated_at': 'BIGINT'
            }
        )
),

named as (
    select
        user_id,
        item_id,
        -- on the scale of five stars, whatever the scale of the file
        greatest(rating * (5 / $highest), 0.5) as rating,
        rated_at
    from source
)

select * from named
