-- one row per item_id of ml-100k's u.item
with source as (
    select *
    from
        read_csv(
            $items_path,
            delim = '|',
            header = false,
            quote = '',
            escape = '',
            auto_detect = false,
            hive_partitioning = false,
            encoding = $encoding,
            columns = {
                'item_id': 'INTEGER',
                'title': 'VARCHAR',
                'released_on': 'VARCHAR',
                'video_released_on': 'VARCHAR',
                'imdb_url': 'VARCHAR',
                'unknown': 'BOOLEAN',
                'action': 'BOOLEAN',
                'adventure': 'BOOLEAN',
                'animation': 'BOOLEAN',
                'children': 'BOOLEAN',
                'comedy': 'BOOLEAN',
                'crime': 'BOOLEAN',
                'documentary': 'BOOLEAN',
                'drama': 'BOOLEAN',
                'fantasy': 'BOOLEAN',
                'film_noir': 'BOOLEAN',
                'horror': 'BOOLEAN',
                'musical': 'BOOLEAN',
                'mystery': 'BOOLEAN',
                'romance': 'BOOLEAN',
                'sci_fi': 'BOOLEAN',
                'thriller': 'BOOLEAN',
                'war': 'BOOLEAN',
                'western': 'BOOLEAN'
            }
        )
),

described as (
    select
        item_id,
        trim(title) as title,
        -- the last of several years; the first year of a range like (2006–2007)
        coalesce(
            try_cast(
                regexp_extract(title, '.*\((\d{4})(?:\s*[-–]\s*\d{0,4}\s*)?\)', 1)
                as integer
            ),
            try_cast(right(released_on, 4) as integer)
        ) as release_year,
        list_filter(
            [
                if(action, 'Action', null),
                if(adventure, 'Adventure', null),
                if(animation, 'Animation', null),
                if(children, 'Children''s', null),
                if(comedy, 'Comedy', null),
                if(crime, 'Crime', null),
                if(documentary, 'Documentary', null),
                if(drama, 'Drama', null),
                if(fantasy, 'Fantasy', null),
                if(film_noir, 'Film-Noir', null),
                if(horror, 'Horror', null),
                if(musical, 'Musical', null),
                if(mystery, 'Mystery', null),
                if(romance, 'Romance', null),
                if(sci_fi, 'Sci-Fi', null),
                if(thriller, 'Thriller', null),
                if(war, 'War', null),
                if(western, 'Western', null)
            ],
            lambda genre: genre is not null
        ) as genres,
        cast(item_id as varchar) as item_key,
        true as is_listed
    from source
)

select * from described
